"""The script "HPS compare settings": the same prompts and seeds for all settings, and a verdict."""
