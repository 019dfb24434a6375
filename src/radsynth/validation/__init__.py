"""Great Expectations suites that judge whether data may be used."""
