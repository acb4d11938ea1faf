"""Scored pictures in the ledger: how the host made them, and what the ledger keeps of a picture."""
