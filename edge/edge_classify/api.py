"""The names that `edge_classify` offers, loaded when the first of them is used."""

from .errors import CameraError as CameraError
from .errors import DataError as DataError
from .errors import EdgeClassifyError as EdgeClassifyError
from .errors import ModelFileError as ModelFileError
from .errors import SelfTestError as SelfTestError
from .errors import UsageError as UsageError
from .images.photo import read_photo as read_photo
from .images.preprocessing import preprocess as preprocess
from .learn.teaching.teach import Taught as Taught
from .learn.teaching.teach import teach as teach
from .model.classifier import Category as Category
from .model.classifier import Classification as Classification
from .model.classifier import Classifier as Classifier
from .outputs.events import Events as Events
from .outputs.json_lines import JsonLines as JsonLines
from .outputs.on_change import CommandHook as CommandHook
from .outputs.webhook import Webhook as Webhook
from .pipeline.decision import Change as Change
from .pipeline.decision import Decision as Decision
from .pipeline.loop import Result as Result
from .pipeline.loop import classify_frames as classify_frames
from .sources.discovery import list_cameras as list_cameras
from .sources.frame import Frame as Frame
from .sources.frame import Transform as Transform
from .sources.opening import open_source as open_source
