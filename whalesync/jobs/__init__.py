"""The jobs: their table, how they run, their health, and the jobs themselves."""
