"""What leaves the server other than by SIP and HTTP answers: webhooks, mail, text messages."""
