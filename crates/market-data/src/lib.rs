//! Trades, candles and their algebra, intervals: pure.
