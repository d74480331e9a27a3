package e2e

// Service is the unit of the manual and of the design, as a person would write it
// for the pool web.
const Service = `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/fugue run --config /etc/fugue/web.toml
ExecReload=/usr/bin/fugue reload web
ExecStopPost=+/usr/bin/fugue sweep web
Restart=always
RestartSec=100ms
KillMode=process
OOMPolicy=continue
FileDescriptorStoreMax=4096
RuntimeDirectory=fugue/web
RuntimeDirectoryPreserve=restart
`
