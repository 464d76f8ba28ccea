package main

import "errors"

type coordinatorCmd struct{}

func (coordinatorCmd) Run() error { return errors.New("not written yet") }

type redriveCmd struct{}

func (redriveCmd) Run() error { return errors.New("not written yet") }
