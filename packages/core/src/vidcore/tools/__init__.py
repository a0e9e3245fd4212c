"""What people look at and measure with; nothing of the kernel imports it."""
