"""`nlp-transfer label`: which examples to label next, answered in a browser or in a spreadsheet."""
