package coordinator

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Why a signer's message is no alarm.
const (
	CodeBadAlarm      statement.Code = "bad-alarm"
	CodeTooManyAlarms statement.Code = "too-many-alarms"
)

// A signer that raises more alarms than this in a day tells nobody anything any
// more, and must not fill the database.
const (
	signerAlarmsPerDay = 200
	day                = 24 * time.Hour
)

// signerAlarm is a message of a signer, and what it is.
type signerAlarm struct {
	seq     uint64
	subject string
	alarm   *wire.Alarm
	refusal *refusal
}

// readSignerAlarms raises what signers raise, so that whoever follows this
// coordinator learns of it.
func (c *Coordinator) readSignerAlarms(ctx context.Context) error {
	return c.beside(ctx, "the signers' alarms", func(ctx context.Context) error {
		stream, err := c.conn.JS().Stream(ctx, bus.StreamSignerAlarms)
		if err != nil {
			return fmt.Errorf("look at the signers' alarms: %w", err)
		}
		created := stream.CachedInfo().Created.UTC()
		done, err := c.db.AlarmCursor(created)
		if err != nil {
			return err
		}
		from := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: done + 1}
		return c.takeEach(ctx, bus.StreamSignerAlarms, from, func(messages []jetstream.Msg) error { return c.takeSignerAlarms(created, messages) })
	})
}

// takeSignerAlarms commits the alarms together with the place up to which they were
// read: a crash before that reads them again, and raising twice is raising once.
func (c *Coordinator) takeSignerAlarms(created time.Time, messages []jetstream.Msg) error {
	list := make([]signerAlarm, len(messages))
	for i, m := range messages {
		if err := list[i].read(m); err != nil {
			return err
		}
	}
	err := c.db.Update(func(tx *store.Tx) error {
		for i := range list {
			if err := c.takeSignerAlarm(tx, &list[i]); err != nil {
				return err
			}
		}
		return tx.SetAlarmCursor(created, list[len(list)-1].seq)
	})
	if err != nil {
		return err
	}
	for i := range list {
		if ref := list[i].refusal; ref != nil {
			c.metrics.badAlarms.WithLabelValues(string(ref.code)).Inc()
			c.log.Warn("signer's alarm refused", "subject", list[i].subject, "sequence", list[i].seq, "code", ref.code, "reason", ref.message)
		}
	}
	c.newEvents()
	c.wakeAsk() // which publishes them with this coordinator's own
	return nil
}

func (s *signerAlarm) read(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read signers' alarms: %w", err)
	}
	s.seq, s.subject = meta.Sequence.Stream, m.Subject()
	channel, signer, err := bus.ParseSignerAlarmSubject(s.subject)
	if err == nil {
		s.alarm, err = wire.ParseSignerAlarm(m.Data(), channel, signer)
	}
	if err != nil {
		s.refusal = refuse(CodeBadAlarm, "%v", err)
		return nil
	}
	// A signer's clock orders nothing here.
	s.alarm.At = meta.Timestamp.UTC()
	return nil
}

// takeSignerAlarm raises one alarm. A signer asked again after a restart says the
// same once more, with another time: it is the same alarm.
func (c *Coordinator) takeSignerAlarm(tx *store.Tx, s *signerAlarm) error {
	if s.refusal != nil {
		return nil
	}
	n, err := tx.SignerAlarms(s.alarm.From, s.alarm.At.Add(-day))
	if err != nil {
		return err
	}
	if n >= signerAlarmsPerDay {
		s.refusal = refuse(CodeTooManyAlarms, "signer %q raised %d alarms within a day", s.alarm.From, n)
		return nil
	}
	_, err = c.raiseAlarm(tx, s.alarm, "signer "+s.alarm.From+" "+s.alarm.Message)
	return err
}

// alarmLabel keeps what a signer may write from becoming a label.
func alarmLabel(code string) string {
	switch code {
	case alarmLateDissent, alarmSecondDigest, alarmInvalidSignature, alarmSignedWhileHeld, alarmWithdrawn, alarmUpload, alarmOverQuota, string(quorum.RefuseSignatureCheck):
		return code
	}
	return "other"
}
