"""Prepare the model for training and take optimiser steps."""
