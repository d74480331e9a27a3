#!/bin/sh
# A worker that listens to nothing: it does one job after the other, and ends
# between two of them.
stop=
trap 'stop=yes' TERM

systemd-notify --ready --status="waits for jobs"
job=0
while [ -z "$stop" ]; do
	job=$((job + 1))
	echo "hello from worker $FUGUE_WORKER, generation $FUGUE_GENERATION: job $job"
	# A trap waits for a command in the foreground, and not for this.
	sleep 1 &
	wait $!
done
systemd-notify STOPPING=1
