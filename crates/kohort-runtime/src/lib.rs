//! Consumers x Processors: ordered lanes, watermark commits, retry and dead letters.
