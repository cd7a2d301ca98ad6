# Run by a systemd that is PID 1: does to model-sidecar.service all that befalls it, and leaves what was seen in /out.

unit=model-sidecar.service

shown() { systemctl show $unit --property="$(echo ActiveState SubState Result NRestarts MainPID StatusText ExecMainStatus | tr ' ' ,)" > "/out/$1"; }

page() { curl --silent --max-time 5 --cacert /ca.pem https://localhost:10068/metrics > "/out/$1"; }

# Until a property has a value, for at most so many tenths of a second that nothing but a failure lasts so long.
until_it_is() { for _ in $(seq 300); do [ "$(systemctl show $unit --property="$1" --value)" = "$2" ] && return; sleep 0.1; done; }

until_it_says() { for _ in $(seq 300); do page scratch; grep -q "$1" /out/scratch && return; sleep 0.1; done; }

main() { systemctl show $unit --property=MainPID --value; }

cat /proc/1/comm > /out/first
mkdir -p /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=3\n' > /run/systemd/system/$unit.d/sooner.conf
systemctl daemon-reload
(cd /clone && bash -e /install.sh); echo $? > /out/installed
cp /sidecar.yml /web.yml /server.pem /etc/model-sidecar/
echo ARGS=--config.file=/etc/model-sidecar/sidecar.yml >> /etc/model-sidecar/model-sidecar.env
systemctl start chat.service
systemd-run --unit=images /usr/bin/python3 /images.py
systemctl restart $unit; echo $? > /out/started
page at-once
until_it_says 'model_processes{target="chat"}'
until_it_says 'model_processes{target="images"}'
until_it_says 'model_probe_attempts_total{target="images"} [1-9]'
until_it_says 'model_probe_up{target="images"}'
sleep 6
page unprivileged
shown running
grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd|^Uid' "/proc/$(main)/status" > /out/status
nsenter --target "$(main)" --mount sh -c 'touch /etc/x /usr/x /var/x /home/x' 2> /out/refused

systemctl restart chat.service
until_it_says 'model_process_restarts_total{target="chat"} 1'
page restarted

sed -i 's/name: chat/name: again/' /etc/model-sidecar/sidecar.yml
systemctl reload $unit; echo $? > /out/reloaded
until_it_says 'target="again"'
sed -i 's/name: again/name: chat/' /etc/model-sidecar/sidecar.yml
systemctl reload $unit
until_it_says 'target="chat"'

kill -STOP "$(main)"
until_it_is NRestarts 1; until_it_is SubState running
shown after-the-watchdog

kill -KILL "$(main)"
until_it_is NRestarts 2; until_it_is SubState running
shown after-a-kill

sed -i 's/unit: chat/port: auto/' /etc/model-sidecar/sidecar.yml
(cd /clone && bash -e /more.sh); echo $? > /out/opened
until_it_says 'model_process_open_fds{target="chat"}'
page privileged
grep CapEff "/proc/$(main)/status" > /out/capabilities

began=$(date +%s%N)
systemctl stop $unit; echo $? > /out/stopped
echo $(( ($(date +%s%N) - began) / 1000000 )) > /out/milliseconds
shown at-last
journalctl --no-pager --output=cat --unit=$unit > /out/journal
journalctl --no-pager --output=cat --unit=chat.service > /out/journal-of-chat
systemctl poweroff
