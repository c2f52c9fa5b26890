"""How spans and log records of any emitter are read: shared code that knows no emitter; `profiles` does."""
