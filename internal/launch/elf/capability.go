package elf

import (
	"encoding/binary"

	"fugue/internal/launch"
)

// bound is what has to come before the change of user, see launch.Capabilities.
func (b *builder) bound(c *launch.Capabilities) {
	if c == nil {
		return
	}
	for _, d := range c.Drop {
		b.call(d.StepDrop(), b.prctl, launch.PrCapbsetDrop, uint64(d.Number))
	}
	if c.Permitted != 0 {
		b.call(launch.StepKeep, b.prctl, launch.PrSetKeepcaps, 1)
	}
}

// capabilities is what comes after it.
func (b *builder) capabilities(c *launch.Capabilities) {
	if c == nil {
		return
	}
	b.call(launch.StepClear, b.prctl, launch.PrCapAmbient, launch.PrCapAmbientClear)
	var sets []byte
	for _, half := range c.Sets() {
		sets = binary.LittleEndian.AppendUint32(sets, half)
	}
	b.call(launch.StepSet, b.capset, uint64(b.words(launch.CapabilityVersion)), uint64(b.bytes(sets)))
	for _, r := range c.Ambient {
		b.call(r.StepRaise(), b.prctl, launch.PrCapAmbient, launch.PrCapAmbientRaise, uint64(r.Number))
	}
}
