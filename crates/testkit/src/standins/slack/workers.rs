//! Finds and kills the worker.
