"""The MLflow store, runs, the sweep's parent, figures, the leaderboard."""
