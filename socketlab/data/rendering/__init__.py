"""The built-in data set: rooms with one thing each, drawn as colour, depth and near infrared."""
