"""Files and hub data sets become checked examples, splits, token ids and packed batches."""
