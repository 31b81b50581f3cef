//! Confusion-aware preference construction: minimal, schema-valid, grounded negatives
