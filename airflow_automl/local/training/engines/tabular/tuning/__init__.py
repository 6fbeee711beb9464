"""HYPERPARAMETER_TUNING: Optuna searches xgboost, linear-learner and mlp; models are data, never pickles."""
