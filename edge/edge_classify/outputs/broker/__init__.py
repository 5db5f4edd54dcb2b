"""What MQTT needs: `output` → `link` → `publisher` → `connection` → the broker."""
