"""The tab "HPS": leaderboard, comparison of settings, scores of files, and the models on this machine."""
