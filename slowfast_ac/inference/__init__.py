"""A trained network that answers: loading, preprocessing, predicting, exporting."""
