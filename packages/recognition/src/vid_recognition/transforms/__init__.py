"""Pipeline steps that only some action recognition datasets need."""
