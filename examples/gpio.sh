#!/bin/sh
# Switch a GPIO pin on while the state is STATE, and off while it is anything else.
#
# edge-classify --on-change 'examples/gpio.sh STATE PIN'
#
# Needs gpioset: sudo apt install gpiod. A Raspberry Pi keeps the pin's level when gpioset has ended, unless config.txt
# says dtparam=strict_gpiod; other boards may not.
set -eu
[ "$EVENT_STATE" = "$1" ] && level=1 || level=0
chip=${GPIO_CHIP:-gpiochip0} # gpiochip4 on a Pi 5 whose kernel is older than 6.6.45
case $(gpioset --version) in
  *v1.*) gpioset "$chip" "$2=$level" ;;
  *) gpioset --chip "$chip" --toggle 0 "$2=$level" ;; # 0: set it and exit
esac
