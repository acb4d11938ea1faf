"""Routes for programs: score, rank, and what can score; fenced against other sites' pages."""
