package master

import (
	"context"
	"fmt"
	"time"

	"fugue/activation"
	"fugue/internal/systemd"
)

// storeTime is how long systemd may take to say how much it keeps.
const storeTime = 10 * time.Second

// checkStore finds out whether systemd keeps all that a successor would need.
// It takes no more descriptors than the unit lets it, and says so to nobody.
// Who may not ask says nothing. Beside the loop.
func (h *host) checkStore() {
	if h.unit == "" || h.systemd == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	status, err := h.pool.Status(ctx)
	if err != nil {
		return // it has ended
	}
	want := 2 + int(h.inboxCount.Load()) // the control socket and the state
	for _, l := range status.Listeners {
		if l.Origin != string(activation.Systemd) {
			want++
		}
	}
	limit, err := systemd.StoreMax(ctx, h.unit)
	if err != nil {
		h.settings.Log.Debug(err)
		return
	}
	h.report(storeChecked{want: want, limit: limit})
}

// storeChecked: how many descriptors should be in systemd's store, and how many
// it takes.
type storeChecked struct{ want, limit int }

func (f storeChecked) apply(m *Master, _ time.Time) {
	short := ""
	if f.limit < f.want {
		short = fmt.Sprintf("systemd keeps %d descriptors of this unit where %d are needed, so that a restart may refuse connections: set FileDescriptorStoreMax=%d or more", f.limit, f.want, f.want)
	}
	if short != "" && short != m.storeShort {
		m.log.Warn(short)
	}
	m.storeShort = short
}
