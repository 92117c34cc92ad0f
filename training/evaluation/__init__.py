"""How good a model is, and the reports and model cards that say so."""
