"""HTTP and WebSocket for every source."""
