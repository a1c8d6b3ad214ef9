//! Guests that do harm, one file per threat in `examples/`. What contains each of them stands in `../README.md`.
