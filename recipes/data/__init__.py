"""Small real data sets that come with the recipes, and a generator of one."""
