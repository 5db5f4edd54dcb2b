#!/bin/sh
# Switch a GPIO pin on while the state is STATE, and off while it is anything else.
#
# edge-classify --on-change 'examples/gpio.sh STATE PIN'
#
# pinctrl comes with Raspberry Pi OS; elsewhere: sudo apt install gpiod.
set -eu
[ "$EVENT_STATE" = "$1" ] && level=1 || level=0
if command -v pinctrl > /dev/null; then
  pinctrl set "$2" op "$([ $level = 1 ] && echo dh || echo dl)"
elif gpioset --version | grep -q 'v1\.'; then
  gpioset "${GPIO_CHIP:-gpiochip0}" "$2=$level"
else
  gpioset --chip "${GPIO_CHIP:-gpiochip0}" --toggle 0 "$2=$level" # set it, and exit
fi
