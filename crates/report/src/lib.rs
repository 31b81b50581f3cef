//! Training logs, comparison tables and the self-contained HTML report
