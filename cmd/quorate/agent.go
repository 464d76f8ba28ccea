package main

import "errors"

type agentCmd struct{}

func (agentCmd) Run() error { return errors.New("not written yet") }

type attestCmd struct{}

func (attestCmd) Run() error { return errors.New("not written yet") }

type requestCmd struct{}

func (requestCmd) Run() error { return errors.New("not written yet") }
