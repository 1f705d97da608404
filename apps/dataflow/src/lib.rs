//! Trades to candles to the SQL store, and pushes on WebSocket.
