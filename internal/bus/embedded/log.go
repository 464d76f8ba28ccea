package embedded

import (
	"fmt"
	"log/slog"
)

// logger passes the server's lines on. Their text is an attribute: the message
// stays constant, so that it can be searched and counted.
type logger struct {
	log *slog.Logger

	// fatal gets the first reason why the server cannot start: it tells its
	// logger and nobody else.
	fatal chan<- string
}

func newLogger(log *slog.Logger, fatal chan<- string) *logger {
	if log == nil {
		log = slog.Default()
	}
	return &logger{log, fatal}
}

const message = "nats server"

// Notices are dozens per start and say nothing an operator acts on.
func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug(message, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Warnf(format string, v ...any) {
	l.log.Warn(message, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Errorf(format string, v ...any) {
	l.log.Error(message, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(message, "text", text)
	select {
	case l.fatal <- text:
	default:
	}
}

func (l *logger) Debugf(string, ...any) {}
func (l *logger) Tracef(string, ...any) {}
