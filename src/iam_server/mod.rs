//! The embedded IAM server.
