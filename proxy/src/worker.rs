//! Workers: each a thread with its own current-thread runtime, which keeps a connection to its end.
