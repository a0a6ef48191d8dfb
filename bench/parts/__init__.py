"""What is measured. Each part is a function that takes a `Plan` and returns `Series`; `PARTS` has them by name."""
