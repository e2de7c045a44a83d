package kafkatest

import "os"

// Say makes a broker's log say something more.
func Say(b *Broker, text string) error {
	log, err := os.OpenFile(b.logPath(), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := log.WriteString(text); err != nil {
		return err
	}
	return log.Close()
}
