package e2e

// bootUnits are the whole universe of units at boot: what default dependencies
// name, and the journal. With the root's own units a boot takes twice as long
// and has services that must be masked one by one.
func bootUnits() map[string]string {
	const early = "[Unit]\nDefaultDependencies=no\n"
	units := map[string]string{
		"sysinit.target":    early + "Wants=systemd-journald.service systemd-journald.socket\nAfter=systemd-journald.service systemd-journald.socket\n",
		"basic.target":      early + "Requires=sysinit.target\nWants=sockets.target timers.target paths.target\nAfter=sysinit.target sockets.target timers.target paths.target\n",
		"multi-user.target": "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
		"shutdown.target":   early + "RefuseManualStart=yes\n",
		"exit.target":       early + "Requires=systemd-exit.service\nAfter=systemd-exit.service\nAllowIsolate=yes\n",
		"systemd-exit.service": early + "Requires=shutdown.target umount.target final.target\n" +
			"After=shutdown.target umount.target final.target\nSuccessAction=exit-force\n",
		// One socket unit for all three of the journal's addresses. The real
		// ones use Symlinks= for /dev/log, which init has made.
		"systemd-journald.socket": early + "Before=sockets.target\nIgnoreOnIsolate=yes\n[Socket]\n" +
			"ListenStream=/run/systemd/journal/stdout\nListenDatagram=/run/systemd/journal/socket\n" +
			"ListenDatagram=/run/systemd/journal/dev-log\nSocketMode=0666\nPassCredentials=yes\n" +
			"PassSecurity=yes\nReceiveBuffer=8M\nSendBuffer=8M\nTimestamping=us\n",
		"systemd-journald.service": early + "Requires=systemd-journald.socket\nAfter=systemd-journald.socket\n" +
			"IgnoreOnIsolate=yes\n[Service]\nType=notify\nExecStart=/usr/lib/systemd/systemd-journald\n" +
			"Restart=always\nRestartSec=0\nStandardOutput=null\nFileDescriptorStoreMax=4224\nOOMScoreAdjust=-250\n",
		"dbus.socket": "[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
		"dbus.service": "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\n" +
			"ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only\n",
	}
	for _, name := range []string{"sockets", "timers", "paths", "umount", "final", "local-fs", "network", "network-online"} {
		units[name+".target"] = early
	}
	return units
}

// journald keeps all in memory: a root's own /var/log/journal must not be
// written, and a test reads every line that was logged.
const journaldConf = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n"
