"""Everything that runs Sanic or bends it, and nothing else. README.md lists each departure from Sanic."""
