"""A hook that sends a line of text to MESSAGE_URL, an address of ntfy (https://ntfy.sh/TOPIC) or any other.

python examples/send_message.py, run by edge-classify:

    MESSAGE_URL=https://ntfy.sh/a-name-that-nobody-guesses
    edge-classify --on-change 'python3 examples/send_message.py'
"""

import json
import os
import sys
from urllib.request import urlopen

if "MESSAGE_URL" not in os.environ:
    sys.exit("MESSAGE_URL is not set: MESSAGE_URL=https://ntfy.sh/a-name-that-nobody-guesses")
event = json.load(sys.stdin)
text = f"{event['model']}: {event['state']}"
if event["previous"] is not None:
    text += f" (after {event['previous_seconds']:.0f} s of {event['previous']})"
try:
    urlopen(os.environ["MESSAGE_URL"], text.encode(), timeout=8)
except OSError as error:
    sys.exit(f"the message was not sent: {error}")  # edge-classify shows this line
