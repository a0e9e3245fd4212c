"""Skeleton-based action recognition for vidcore: what people do, from the joints of their bodies."""
