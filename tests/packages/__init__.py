"""What is given to others: wheels, the Debian package. A target of `make` builds what each test looks at."""
