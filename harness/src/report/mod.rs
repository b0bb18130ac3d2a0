//! Events and the reports that consume them.
