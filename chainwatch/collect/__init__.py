"""Sources, and the runs that store what they yield."""
