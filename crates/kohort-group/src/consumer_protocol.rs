//! The encodings inside JoinGroup's metadata and SyncGroup's assignment.
