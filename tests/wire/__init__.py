"""What tests need to speak with the service at the wire: a raw client, and requests made from the service model."""
