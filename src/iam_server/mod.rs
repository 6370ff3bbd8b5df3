//! iam_server
