//! A disk in memory that fails as it is told.
