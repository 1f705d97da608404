//! Where candles and positions are kept.
